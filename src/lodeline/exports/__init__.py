"""The record in other programs' formats: for the command line and the service."""
