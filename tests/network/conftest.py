"""The servers that these tests talk to."""

from tests.network.orthanc import orthanc, shared_orthanc

__all__ = ["orthanc", "shared_orthanc"]
