"""What accelerators and processors draw. docs/scoring.md gives each constant with its source."""

from __future__ import annotations

# NVIDIA H100 SXM: up to 700 W. At 80 % and with 0.4 kW of host for each GPU an eight-GPU node draws 7.7 kW,
# as such nodes were measured to draw in training: 76 % of their rated 10.2 kW (Newkirk et al. 2025,
# arXiv:2506.14551), and 8.4 kW at most (Latif et al. 2025, IEEE Access 13).
GPU_TDP_KW = 0.7
GPU_UTILISATION = 0.8
GPU_HOST_KW = 0.4

# Cloud Carbon Footprint's methodology: 3.5 to 4.3 W for a busy virtual core, 0.392 W for a gigabyte.
CPU_CORE_KW = 0.004
MEMORY_GB_KW = 0.000392

GPU_IT_POWER_KW = GPU_TDP_KW * GPU_UTILISATION + GPU_HOST_KW
"""Of one accelerator in use, with its share of the node."""
