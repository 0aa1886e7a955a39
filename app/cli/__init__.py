"""The client commands: a person at a terminal, or a program in a pipeline, talking to a running Tagship by its API.

They own what is typed, what is printed and the exit codes. They know the API as any other client does and share no code
with the server, so that the command line can be of another version, or on another machine, than the service.
"""
