"""
The peers: a module each, whose class ``Peer`` does the five operations the way that the library's documentation shows.

:data:`LABELS` lists them, in the order of the tables.
"""

OURS = "mlssocial"

LABELS = {
    "boto3_client": "boto3 client",
    "boto3_table": "boto3 Table",
    "pynamodb_typed": "PynamoDB, typed",
    "pynamodb_pydantic": "PynamoDB + pydantic",
    "aiodynamo_aiohttp": "aiodynamo (aiohttp)",
    "pydynox_dict": "pydynox, dict",
    "pydynox_model": "pydynox, model",
    "pydynox_pydantic": "pydynox + pydantic",
    "dyntastic_model": "dyntastic",
    "dynantic_model": "dynantic",
    "floor": "floor (bare socket)",
    OURS: OURS,
}
