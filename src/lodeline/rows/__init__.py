"""Row provenance: the steps that runs recorded, and questions composed from them.

Steps are kept, never their products: a question walks them one by one from the rows asked about.
"""

from lodeline.rows.cohorts import cohort, cohort_among
from lodeline.rows.questions import rows, rows_among

__all__ = ["cohort", "cohort_among", "rows", "rows_among"]
