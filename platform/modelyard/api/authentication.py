"""Who calls the API: the person behind a user token."""

from typing import Any

from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed


class UserTokenAuthentication(TokenAuthentication):
    """knox's, for whatever bytes a caller sends: a token is ASCII, and what isn't is no token of ours."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """The person and the token; 401 for what is no token."""
        if not token.isascii() or b"\0" in token:
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)
