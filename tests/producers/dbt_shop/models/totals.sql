select c.name as customer, sum(p.cents) as total
from {{ ref('paid') }} p
join {{ source('shop', 'customers') }} c on c.id = p.customer_id
group by c.name
