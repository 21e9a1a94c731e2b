"""Running a recorded run again, from the record alone, and saying what came out.

A recipe is what the record says about a run; a mirror is the file tree it is run in; a comparison
sets what was recorded beside what came out. Naming the factor behind a difference is not done here.
"""
