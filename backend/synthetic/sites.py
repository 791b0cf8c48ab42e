"""Where the invented data centres and batteries stand, and whose they are.

The towns are real and lie in the distribution licence area whose number they carry; the companies are
invented and say so in their names.
"""

from __future__ import annotations

from typing import NamedTuple

# The Carbon Intensity API's licence areas, by the names the regions table gives them.
REGION_SHORT_NAMES: dict[int, str] = {
    1: "North Scotland",
    2: "South Scotland",
    3: "North West England",
    4: "North East England",
    5: "Yorkshire",
    6: "North Wales and Merseyside",
    7: "South Wales",
    8: "West Midlands",
    9: "East Midlands",
    10: "East England",
    11: "South West England",
    12: "South England",
    13: "London",
    14: "South East England",
}


class Company(NamedTuple):
    """An invented company. `operator_type`: CLOUD sells computing on its own machines, COLOCATION houses
    other people's, AI_LAB runs its own models, STORAGE owns batteries, GRID runs the platform that joins
    them.
    """

    operator_id: str
    name: str
    operator_type: str


class Site(NamedTuple):
    """A place with a company on it."""

    town: str
    region_id: int
    latitude: float
    longitude: float
    operator_id: str


PLATFORM = Company("OP-PYLON", "Pylon Grid Desk (fictional)", "GRID")

COMPANIES: tuple[Company, ...] = (
    Company("OP-KESTRELMOOR", "Kestrelmoor Cloud (fictional)", "CLOUD"),
    Company("OP-BRINDLEWATER", "Brindlewater Cloud (fictional)", "CLOUD"),
    Company("OP-THORNACRE", "Thornacre Colocation (fictional)", "COLOCATION"),
    Company("OP-GANNETROW", "Gannet Row Colocation (fictional)", "COLOCATION"),
    Company("OP-LARKSPIRE", "Larkspire Intelligence (fictional)", "AI_LAB"),
    Company("OP-TIDEWRACK", "Tidewrack Storage (fictional)", "STORAGE"),
    PLATFORM,
)

# The first eight stand in eight regions, the first fourteen in all fourteen.
DATA_CENTRE_SITES: tuple[Site, ...] = (
    Site("London Docklands", 13, 51.50, -0.02, "OP-THORNACRE"),
    Site("Slough", 12, 51.51, -0.60, "OP-KESTRELMOOR"),
    Site("Livingston", 2, 55.90, -3.52, "OP-BRINDLEWATER"),
    Site("Newport", 7, 51.59, -3.00, "OP-GANNETROW"),
    Site("Manchester", 3, 53.48, -2.24, "OP-KESTRELMOOR"),
    Site("Inverness", 1, 57.48, -4.22, "OP-LARKSPIRE"),
    Site("Cambridge", 10, 52.21, 0.12, "OP-LARKSPIRE"),
    Site("Leeds", 5, 53.80, -1.55, "OP-THORNACRE"),
    Site("Blyth", 4, 55.13, -1.51, "OP-BRINDLEWATER"),
    Site("Birmingham", 8, 52.48, -1.90, "OP-GANNETROW"),
    Site("Nottingham", 9, 52.95, -1.15, "OP-KESTRELMOOR"),
    Site("Bristol", 11, 51.45, -2.59, "OP-THORNACRE"),
    Site("Liverpool", 6, 53.41, -2.99, "OP-BRINDLEWATER"),
    Site("Crawley", 14, 51.11, -0.19, "OP-GANNETROW"),
    Site("Stratford", 13, 51.54, 0.00, "OP-KESTRELMOOR"),
    Site("Aberdeen", 1, 57.15, -2.09, "OP-LARKSPIRE"),
    Site("Reading", 12, 51.45, -0.97, "OP-THORNACRE"),
    Site("Cardiff", 7, 51.48, -3.18, "OP-BRINDLEWATER"),
    Site("Glasgow", 2, 55.86, -4.25, "OP-GANNETROW"),
    Site("Preston", 3, 53.76, -2.70, "OP-KESTRELMOOR"),
    Site("Norwich", 10, 52.63, 1.30, "OP-THORNACRE"),
    Site("Sheffield", 5, 53.38, -1.47, "OP-BRINDLEWATER"),
    Site("Darlington", 4, 54.52, -1.55, "OP-GANNETROW"),
    Site("Stoke-on-Trent", 8, 53.00, -2.18, "OP-LARKSPIRE"),
    Site("Derby", 9, 52.92, -1.48, "OP-THORNACRE"),
    Site("Exeter", 11, 50.73, -3.53, "OP-KESTRELMOOR"),
    Site("Wrexham", 6, 53.05, -2.99, "OP-LARKSPIRE"),
    Site("Maidstone", 14, 51.27, 0.52, "OP-GANNETROW"),
)

BATTERY_SITES: tuple[Site, ...] = (
    Site("Dundee", 1, 56.46, -2.97, "OP-TIDEWRACK"),
    Site("Hull", 5, 53.74, -0.34, "OP-TIDEWRACK"),
    Site("Swansea", 7, 51.62, -3.94, "OP-TIDEWRACK"),
    Site("Ipswich", 10, 52.06, 1.16, "OP-TIDEWRACK"),
    Site("Southampton", 12, 50.90, -1.40, "OP-TIDEWRACK"),
    Site("Chester", 6, 53.19, -2.89, "OP-TIDEWRACK"),
)
