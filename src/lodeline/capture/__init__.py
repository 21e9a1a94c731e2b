"""Observing Python programs without changing them.

An observed process does as little as it can: it appends what it reads and writes to a journal of
its own (`journal`), and whoever outlives it (the `lodeline run` parent, else the process itself at
its end) turns journals into OpenLineage events (`drafts`) and puts them into the spool.

`recorder` is what integrations talk to; `flow` knows which datasets an object in memory came
from; `patches` is the one way to wrap a foreign function. The public names live in `sdk`.
"""
