select o.id as order_id, o.customer as customer_id, o.amount * 100 as cents
from {{ source('shop', 'orders') }} o
where o.paid
