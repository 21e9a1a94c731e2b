select cast(state as integer) as number from {{ ref("orders_cleaned") }}
