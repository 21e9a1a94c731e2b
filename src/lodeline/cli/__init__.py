"""The command line: thin commands over the same questions that HTTP and the SDK ask."""
