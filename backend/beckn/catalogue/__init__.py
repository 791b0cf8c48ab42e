"""What is offered: priced slots of computing at data centres, and the workloads that wait for one."""
