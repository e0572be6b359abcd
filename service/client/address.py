"""Where the API is if nobody says so."""

DEFAULT_URL = "http://127.0.0.1:5050"
