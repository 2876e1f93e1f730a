"""The words that an attribute of the allow-list may hold: nobody's name is among them.

Source: DICOM PS3.3, MR Image (C.8.3.1) and Enhanced MR Image (C.8.13); the words of vendors in
ImageType and ScanOptions are those that are seen in their files.
"""

from spine_monai.readers.vocabulary import CORRECTED, KINDS

YES_NO = frozenset({"YES", "NO"})
ORIGINS = frozenset({"ORIGINAL", "DERIVED", "MIXED"})
IMAGE_TYPES = frozenset(
    {
        *("ORIGINAL", "DERIVED", "MIXED", "PRIMARY", "OTHER", "NONE", "NOT_DEFINED"),
        *("M", "ND", "NORM", "NFS", "FM", "FS", "FFE", "SE", "IR", "M_IR", "M_SE", "M_FFE"),
        *("M_TSE", "TSE", "GDC", "SH", "FIL", "DIXON", "COMPOSED", "COMPOSING", "COMP_SPLIT"),
        *("COMP_AUTO", "COMP_AD", "ADD", "MEAN", "PFP", "MSUM", "ORTHO", "VOLUME", "MULTIPLANAR"),
        *("DENSITY MAP", "DIFFUSION MAP", "IMAGE ADDITION", "MODULUS SUBTRACT", "MPR", "T1", "T2"),
        *("T2_STAR", "PROTON_DENSITY", "STIR", "FLUID_ATTENUATED", "DIFFUSION", "PERFUSION"),
        *("AXIAL", "SAGITTAL", "CORONAL", "OBLIQUE", "STATIC", "DYNAMIC", "ANGIO", "CARDIAC"),
        *(*KINDS, *CORRECTED),
    }
)
SCAN_OPTIONS = frozenset(
    {
        *("PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS", "CT", "NONE", "SAT1", "SAT2"),
        *("FAT_SAT", "FATSAT", "FAT SAT", "SPIR", "SPAIR", "WE", "IR", "MT", "DB", "PI"),
        *("SAT_GEMS", "EDR_GEMS", "FAST_GEMS", "ACC_GEMS", "FILTERED_GEMS", "TRF_GEMS", "NPW"),
        *("NP", "VB_GEMS", "SEQ_GEMS", "FC_FREQ_AX_GEMS", "FC_SLICE_AX_GEMS", "CS_GEMS"),
    }
)
BODY_PARTS = frozenset(
    {
        *("SPINE", "LSPINE", "CSPINE", "TSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE"),
        *("L-SPINE", "C-SPINE", "T-SPINE", "L SPINE", "C SPINE", "T SPINE", "LUMBAR SPINE"),
        *("WHOLESPINE", "PELVIS", "HIP", "ABDOMEN", "SACRUM", "COCCYX", "SIJOINT", "HEAD", "NECK"),
        *("BRAIN", "CHEST", "KNEE", "SHOULDER", "EXTREMITY", "WHOLEBODY"),
    }
)
POSITIONS = frozenset({"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"})
# Keyword: the words it may hold; of several values, those among them stay.
WORDS: dict[str, frozenset[str]] = {
    "ImageType": IMAGE_TYPES,
    "FrameType": IMAGE_TYPES,
    "ScanOptions": SCAN_OPTIONS,
    "BodyPartExamined": BODY_PARTS,
    "PatientPosition": POSITIONS,
    "PatientSex": frozenset({"M", "F", "O"}),
    "Laterality": frozenset({"R", "L"}),
    "ImageLaterality": frozenset({"R", "L", "U", "B"}),
    "FrameLaterality": frozenset({"R", "L", "U", "B"}),
    "ScanningSequence": frozenset({"SE", "IR", "GR", "EP", "RM"}),
    "SequenceVariant": frozenset({"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}),
    "MRAcquisitionType": frozenset({"1D", "2D", "3D"}),
    "AngioFlag": frozenset({"Y", "N"}),
    "VariableFlipAngleFlag": frozenset({"Y", "N"}),
    "ImagedNucleus": frozenset({"1H", "H1", "H", "3HE", "13C", "19F", "23NA", "31P", "129XE"}),
    "ResonantNucleus": frozenset({"1H", "3HE", "7LI", "13C", "19F", "23NA", "31P", "129XE"}),
    "InPlanePhaseEncodingDirection": frozenset({"ROW", "COL", "COLUMN", "OTHER"}),
    "PhotometricInterpretation": frozenset({"MONOCHROME1", "MONOCHROME2"}),
    "PresentationLUTShape": frozenset({"IDENTITY", "INVERSE"}),
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
    "RescaleType": frozenset({"US", "NORMALIZED", "HU", "UNSPECIFIED"}),
    "BurnedInAnnotation": frozenset({"NO"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "LossyImageCompressionMethod": frozenset(
        {"ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_18181_1"}
    ),
    "QualityControlImage": YES_NO,
    "ContentQualification": frozenset({"PRODUCT", "RESEARCH", "SERVICE"}),
    "SpatialLocationsPreserved": frozenset({"YES", "NO", "REORIENTED_ONLY"}),
    "ComplexImageComponent": frozenset({"MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"}),
    "AcquisitionContrast": frozenset(
        {
            *("DIFFUSION", "FLOW_ENCODED", "FLUID_ATTENUATED", "PERFUSION", "PROTON_DENSITY"),
            *("STIR", "TAGGING", "T1", "T2", "T2_STAR", "TOF", "TIME_OF_FLIGHT", "MIXED"),
            "UNKNOWN",
        }
    ),
    "PixelPresentation": frozenset({"MONOCHROME"}),
    "VolumetricProperties": frozenset({"VOLUME", "SAMPLED", "DISTORTED", "MIXED"}),
    "VolumeBasedCalculationTechnique": frozenset(
        {"NONE", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "MPR", "CURVED_MPR"}
    ),
    "EchoPulseSequence": frozenset({"SPIN", "GRADIENT", "BOTH"}),
    "SteadyStatePulseSequence": frozenset(
        {"FREE_PRECESSION", "TRANSVERSE", "TIME_REVERSED", "LONGITUDINAL", "NONE"}
    ),
    "SpectrallySelectedSuppression": frozenset(
        {"FAT", "WATER", "FAT_AND_WATER", "SILICON_GEL", "NONE"}
    ),
    "SpectrallySelectedExcitation": frozenset({"WATER", "FAT", "NONE"}),
    "OversamplingPhase": frozenset({"2D", "3D", "2D_3D", "NONE"}),
    "GeometryOfKSpaceTraversal": frozenset({"RECTILINEAR", "RADIAL", "SPIRAL"}),
    "RectilinearPhaseEncodeReordering": frozenset(
        {"LINEAR", "CENTRIC", "SEGMENTED", "REVERSE_LINEAR", "REVERSE_CENTRIC"}
    ),
    "SegmentedKSpaceTraversal": frozenset({"SINGLE", "PARTIAL", "FULL"}),
    "CoverageOfKSpace": frozenset({"FULL", "CYLINDRICAL", "ELLIPSOIDAL", "WEIGHTED"}),
    "KSpaceFiltering": frozenset(
        {"COSINE", "COSINE_SQUARED", "FERMI", "GAUSSIAN", "HAMMING", "HANNING", "LORENTZIAN"}
        | {"LRNTZ_GSS_TRNSFM", "RIESZ", "TUKEY", "USER_DEFINED", "NONE"}
    ),
    "FlowCompensation": frozenset({"ACCELERATION", "VELOCITY", "OTHER", "NONE"}),
    "FlowCompensationDirection": frozenset(
        {"PHASE", "FREQUENCY", "SLICE_SELECT", "SLICE_AND_FREQ", "SLICE_FREQ_PHASE"}
        | {"PHASE_AND_FREQ", "SLICE_AND_PHASE", "OTHER"}
    ),
    "Spoiling": frozenset({"RF", "GRADIENT", "RF_AND_GRADIENT", "NONE"}),
    "SpatialPresaturation": frozenset({"SLAB", "NONE"}),
    "PartialFourierDirection": frozenset({"PHASE", "FREQUENCY", "SLICE_SELECT", "COMBINATION"}),
    "ParallelAcquisitionTechnique": frozenset({"PILS", "SENSE", "SMASH", "OTHER"}),
    "CardiacSynchronizationTechnique": frozenset(
        {"NONE", "REALTIME", "PROSPECTIVE", "RETROSPECTIVE", "PACED"}
    ),
    "RespiratoryMotionCompensationTechnique": frozenset(
        {"NONE", "BREATH_HOLD", "REALTIME", "GATING", "TRACKING", "PHASE_ORDERING"}
        | {"PHASE_RESCANNING", "RETROSPECTIVE", "CORRECTION", "UNKNOWN"}
    ),
    "BulkMotionCompensationTechnique": frozenset(
        {"NONE", "REALTIME", "GATING", "TRACKING", "RETROSPECTIVE", "CORRECTION", "UNKNOWN"}
    ),
    "ReceiveCoilType": frozenset({"BODY", "VOLUME", "SURFACE", "MULTICOIL"}),
    "TransmitCoilType": frozenset({"BODY", "VOLUME", "SURFACE"}),
    "DiffusionDirectionality": frozenset({"DIRECTIONAL", "BMATRIX", "ISOTROPIC", "NONE"}),
    "Tagging": frozenset({"GRID", "LINE", "NONE"}),
    "MagnetizationTransfer": frozenset({"ON_RESONANCE", "OFF_RESONANCE", "NONE"}),
    "SpecificAbsorptionRateDefinition": frozenset(
        {"IEC_WHOLE_BODY", "IEC_PARTIAL_BODY", "IEC_HEAD", "IEC_LOCAL"}
    ),
    "GradientOutputType": frozenset({"DB_DT", "ELECTRIC_FIELD", "PER_NERVE_STIM"}),
    "OperatingModeType": frozenset({"STATIC FIELD", "RF", "GRADIENT"}),
    "OperatingMode": frozenset({"IEC_NORMAL", "IEC_FIRST_LEVEL", "IEC_SECOND_LEVEL"}),
    "ApplicableSafetyStandardAgency": frozenset({"IEC", "FDA", "MHLW"}),
    "DimensionOrganizationType": frozenset({"3D", "3D_TEMPORAL"}),
    "DimensionIndexPrivateCreator": frozenset({"PHILIPS MR IMAGING DD 001"}),
    "FunctionalGroupPrivateCreator": frozenset({"PHILIPS MR IMAGING DD 001"}),
} | dict.fromkeys(
    (
        *("MultipleSpinEcho", "MultiPlanarExcitation", "PhaseContrast", "TimeOfFlightContrast"),
        *("EchoPlanarPulseSequence", "SaturationRecovery", "InversionRecovery", "T2Preparation"),
        *("PartialFourier", "ParallelAcquisition", "BloodSignalNulling", "QuadratureReceiveCoil"),
    ),
    YES_NO,
)
# What a name begins with: how it is written in the export. Other makers are left out.
MANUFACTURERS = {
    **{"SIEMENS": "SIEMENS", "GE MEDICAL": "GE MEDICAL SYSTEMS", "GE HEALTH": "GE Healthcare"},
    **{"PHILIPS": "Philips", "CANON": "Canon", "TOSHIBA": "Toshiba", "HITACHI": "Hitachi"},
    **{"FUJI": "Fujifilm", "ESAOTE": "Esaote", "UIH": "UIH", "PARAMED": "Paramed"},
    "UNITED IMAGING": "UIH",
}
