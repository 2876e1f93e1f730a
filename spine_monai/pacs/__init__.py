"""The hospital network's door: DICOM nodes, DICOMweb, and what is done with what comes through it.

Nothing here leaves 127.0.0.1 unless the configuration names an address, and no message or log names
a patient, an accession number or a UID; see ``docs/reference/conformance.md``.
"""
