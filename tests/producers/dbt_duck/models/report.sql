{{ config(materialized="view") }} select * from {{ ref("totals") }}
