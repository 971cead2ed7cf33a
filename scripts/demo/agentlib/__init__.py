"""A scripted stand-in for the `claude` command: same arguments, same stream, no model.

It knows the files in its working directory and the prompt, nothing else, and does real work with
them. Standard library only, so that it runs wherever python3 does.
"""
