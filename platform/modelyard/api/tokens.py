"""User tokens of the API: made and revoked by their owner, shown once, stored as a hash."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class TokenRequestSerializer(serializers.Serializer[Any]):
    """How long the token is to live."""

    days = serializers.IntegerField(required=False, min_value=1, max_value=3650, help_text="Left out: for ever.")


class TokenSerializer(serializers.Serializer[Any]):
    """A fresh token; it is not shown again."""

    token = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)


class TokensView(APIView):
    """Makes a user token for whoever logs in with name and password (HTTP Basic) or has a session."""

    authentication_classes = [BasicAuthentication, SessionAuthentication]
    permission_classes = [IsAuthenticated]

    @extend_schema(summary="Make a user token", request=TokenRequestSerializer, responses={201: TokenSerializer})
    def post(self, request: Request) -> Response:
        """Answers with the token, once."""
        body = TokenRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        days = body.validated_data.get("days")
        expiry = timedelta(days=days) if days else None
        _, token = AuthToken.objects.create(user=request.user, expiry=expiry)
        expires_at = timezone.now() + expiry if expiry else None
        return Response({"token": token, "expires_at": expires_at}, status=201, headers={"Cache-Control": "no-store"})


class KnoxScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes user tokens."""

    target_class = "modelyard.api.authentication.UserTokenAuthentication"
    name = "userToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "A user token: `Authorization: Bearer myt_…`"}
