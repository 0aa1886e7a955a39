"""GitHub and Slack as stateful local servers: the only two parts that the tests do not run for real.

They speak real HTTP, so the service's own clients are what is tested. Both also run as programs for trying Tagship out.
"""
