"""What tests of keys start from: a deployment that nobody has keys of yet."""

import pytest

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.models.models import Format, Model, Status


@pytest.fixture
def deployment(db: None) -> Deployment:
    model = Model.objects.create(name="tiny", status=Status.READY, format=Format.ONNX)
    return operations.create(model=model, name="search", runtime="echo", by=None)


@pytest.fixture
def other(deployment: Deployment) -> Deployment:
    return operations.create(model=deployment.model, name="other", runtime="echo", by=None)
