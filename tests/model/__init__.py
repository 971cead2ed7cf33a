"""A scripted Messages API for the tests: rules, wire format, server, scenarios."""
