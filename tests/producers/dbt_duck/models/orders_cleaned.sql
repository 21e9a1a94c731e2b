select id, customer, amount * 100 as cents, state from {{ ref("raw_orders") }}
