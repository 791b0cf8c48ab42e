"""The provider's platform: compute slots that can be searched, ordered, followed and cancelled."""
