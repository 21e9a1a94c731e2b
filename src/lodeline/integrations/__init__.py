"""One adapter a framework, each by entry point and unaware of its siblings."""
