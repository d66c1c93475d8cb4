"""Models from Hugging Face, or from any server that speaks its API: looked at first, then downloaded."""
