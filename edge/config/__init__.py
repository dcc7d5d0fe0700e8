"""`config.yaml`, read once at the door into frozen settings; every mistake is named by file, line and key."""

from edge.config.settings import (
    CREDENTIAL,
    SAMPLE_RATE_HZ,
    Config,
    EventSettings,
    EvidenceSettings,
    FolderSettings,
    MetricsSettings,
    MicrophoneSettings,
    MqttSettings,
    OutboxSettings,
    SensorSettings,
    SourceSettings,
    StdinSettings,
    TlsSettings,
    load,
    machine_name,
    secret_path,
)
from edge.config.strict_yaml import Settings, load_settings

__all__ = [
    "CREDENTIAL",
    "SAMPLE_RATE_HZ",
    "Config",
    "EventSettings",
    "EvidenceSettings",
    "FolderSettings",
    "MetricsSettings",
    "MicrophoneSettings",
    "MqttSettings",
    "OutboxSettings",
    "SensorSettings",
    "Settings",
    "SourceSettings",
    "StdinSettings",
    "TlsSettings",
    "load",
    "load_settings",
    "machine_name",
    "secret_path",
]
