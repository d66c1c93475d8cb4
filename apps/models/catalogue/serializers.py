"""The catalogue as the API shows it."""

from typing import Any

from rest_framework import serializers

from apps.models.catalogue import memory
from apps.models.catalogue.schema import Task
from apps.models.catalogue.shelf import Offer
from modelyard.runtimes import Host


class NumberFigureSerializer(serializers.Serializer[Any]):
    """A number and where it is from."""

    value = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]


class TextFigureSerializer(serializers.Serializer[Any]):
    """A text and where it is from."""

    value = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]


class FlagFigureSerializer(serializers.Serializer[Any]):
    """Yes or no, and where it is from."""

    value = serializers.BooleanField()
    source = serializers.CharField()  # type: ignore[assignment]


class OfferSerializer(serializers.Serializer[Any]):
    """One model of the catalogue; each figure with its source, null where nobody said it."""

    id = serializers.CharField()
    name = serializers.CharField()
    summary = serializers.CharField()
    task = serializers.ChoiceField(choices=[str(task) for task in Task])
    languages = serializers.ListField(child=serializers.CharField())
    repository = serializers.CharField()
    revision = TextFigureSerializer(allow_null=True)
    files = serializers.ListField(child=serializers.CharField(), help_text="Patterns of the files to take; empty: all.")
    parameters = NumberFigureSerializer(allow_null=True)
    dtype = TextFigureSerializer(allow_null=True)
    licence = TextFigureSerializer(allow_null=True)
    gated = FlagFigureSerializer(allow_null=True)
    context_length = NumberFigureSerializer(allow_null=True, help_text="Tokens.")
    memory = NumberFigureSerializer(allow_null=True, help_text="Bytes it needs at least.")
    runtime = serializers.CharField(help_text="Recommended; empty where none that is known serves it.")
    options = serializers.DictField(help_text="Recommended options of that runtime.")
    fits_here = serializers.BooleanField(allow_null=True)
    files_here = serializers.BooleanField(help_text="Its files lie in a bundle on this machine.")
    shipped = serializers.BooleanField(help_text="It came with Modelyard; otherwise the operator added it.")


class StartSerializer(serializers.Serializer[Any]):
    """How the imported model is to be named."""

    name = serializers.CharField(required=False, allow_blank=True, max_length=120, help_text="Else the entry's name.")


def shown(offer: Offer, host: Host) -> dict[str, Any]:
    """An offer with what this machine adds to it."""
    entry = offer.entry
    needed = memory.least(entry)
    return {
        **entry.model_dump(mode="json", exclude={"directory"}),
        "memory": needed.model_dump() if needed else None,
        "fits_here": memory.fits(entry, host),
        "files_here": offer.bundle is not None,
        "shipped": offer.shipped,
    }
