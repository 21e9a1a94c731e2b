{{ config(materialized="ephemeral") }}
select * from {{ ref("orders_cleaned") }} where state = 'secret-word'
   or state = 'paid'
