"""Spark: what each action of a classic PySpark session reads and writes, from its plan."""

from lodeline.integrations.spark.integration import SparkIntegration

__all__ = ["SparkIntegration"]
