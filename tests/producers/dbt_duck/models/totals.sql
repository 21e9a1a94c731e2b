select p.customer, n.name as customer_name, sum(p.cents) as total
from {{ ref("only_paid") }} p join {{ source("shop", "names") }} n on n.customer = p.customer
group by all
