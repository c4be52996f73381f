"""DICOM over the network: where results are sent to, and where series are found and fetched.

Needs the packages of the extra `node`; without them everything here says which command installs them. Nothing here logs
patient data, and no message holds any.
"""
