"""HTTP as values: requests, heads read strictly, responses, CORS, and the files of the browser client.

Nothing here knows a session, nor which server carries the bytes.
"""
