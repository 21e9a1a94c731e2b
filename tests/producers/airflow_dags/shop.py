"""A shop's nightly tables, written by Airflow over PostgreSQL as people write it: no lineage said."""

from datetime import UTC, datetime

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG

PAID = """
CREATE TABLE public.paid_orders AS
SELECT o.id AS order_id, o.customer AS customer_id, o.amount * 100 AS cents
FROM public.orders o WHERE o.paid
"""
TOTALS = """
CREATE TABLE public.customer_totals AS
SELECT c.name AS customer, sum(p.cents) AS total
FROM public.paid_orders p JOIN public.customers c ON c.id = p.customer_id GROUP BY c.name
"""
BEST = """
INSERT INTO public.best_customers (customer, total)
SELECT customer, total FROM public.customer_totals ORDER BY total DESC LIMIT 3
"""

with DAG("shop", schedule="@once", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
    tasks = [
        SQLExecuteQueryOperator(task_id=task_id, conn_id="shop", sql=sql)
        for task_id, sql in [("paid", PAID), ("totals", TOTALS), ("best", BEST)]
    ]
    tasks[0] >> tasks[1] >> tasks[2]
