"""What the tables call a carbon intensity in gCO2/kWh; inside it is `carbon_intensity_gco2_per_kwh` everywhere."""

CARBON_INTENSITY_COLUMN = "carbon_intensity_forecast"
ACTUAL_CARBON_INTENSITY_COLUMN = "carbon_intensity_actual"
