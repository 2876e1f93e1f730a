"""Systems that we call: DICOM nodes and DICOMweb services."""
