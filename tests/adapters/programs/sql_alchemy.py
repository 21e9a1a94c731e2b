"""Statements through alchemy."""

import os

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = sa.Column(sa.Integer, primary_key=True)
    amount = sa.Column(sa.Float)
    customer = sa.Column(sa.String)


engine = sa.create_engine(os.environ["URL"])
frame = pd.read_csv("a.csv")
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all([Order(amount=1.5, customer="Ann"), Order(amount=2.5, customer="Bob")])
    session.commit()
    print([order.amount for order in session.query(Order)])
with engine.begin() as connection:
    connection.execute(sa.text("CREATE TABLE copies AS SELECT customer, amount FROM orders"))
try:
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM copies"))
        int("no number")
except ValueError:
    pass
frame.to_sql("frames", engine, index=False)
pd.read_sql("SELECT customer, amount FROM copies WHERE amount > 1", engine).to_csv("read.csv")
pd.read_sql_table("frames", engine).to_csv("table.csv")
