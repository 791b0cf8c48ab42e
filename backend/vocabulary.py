"""The closed sets of words that the database, the upstream APIs and the published output share."""

from __future__ import annotations

from enum import Enum


class StrEnum(str, Enum):
    """An enum whose members are, and print as, their own text."""

    __str__ = str.__str__  # outputs say a hundred such words, and asking for the value takes ten times as long


class WorkloadType(StrEnum):
    TRAINING_RUN = "TRAINING_RUN"
    INFERENCE_BATCH = "INFERENCE_BATCH"
    RAG_QUERY = "RAG_QUERY"
    FINE_TUNING = "FINE_TUNING"
    DATA_PROCESSING = "DATA_PROCESSING"
    OTHER = "OTHER"


class Urgency(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class WorkloadStatus(StrEnum):
    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    DEFERRED_GRID_STRESS = "DEFERRED_GRID_STRESS"
    DEFERRED_CARBON = "DEFERRED_CARBON"
    DEFERRED_PRICE = "DEFERRED_PRICE"
    CANCELLED = "CANCELLED"


class DataCentreStatus(StrEnum):
    ACTIVE = "ACTIVE"
    MAINTENANCE = "MAINTENANCE"
    OFFLINE = "OFFLINE"
    CONSTRAINED = "CONSTRAINED"


class Execution(StrEnum):
    """Who runs what is booked at a data centre."""

    SIMULATED = "simulated"
    RUNNER = "runner"


class SignalSource(StrEnum):
    """Where a stored number came from.

    `MODELLED` is a curve of ours through or anchored on real figures; `SYNTHETIC` is invented without any.
    """

    CARBON_INTENSITY_API = "carbon_intensity_api"
    NESO = "neso"
    ELEXON = "elexon"
    MODELLED = "modelled"
    SYNTHETIC = "synthetic"


class CarbonIndex(StrEnum):
    """The Carbon Intensity API's words for an intensity."""

    VERY_LOW = "very low"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    VERY_HIGH = "very high"


class Fuel(StrEnum):
    """The nine fuels of the Carbon Intensity API's generation mix."""

    BIOMASS = "biomass"
    COAL = "coal"
    IMPORTS = "imports"
    GAS = "gas"
    NUCLEAR = "nuclear"
    OTHER = "other"
    HYDRO = "hydro"
    SOLAR = "solar"
    WIND = "wind"


class Policy(StrEnum):
    """What a user may ask a decision to favour."""

    BALANCED = "balanced"
    CARBON = "carbon"
    COST = "cost"
