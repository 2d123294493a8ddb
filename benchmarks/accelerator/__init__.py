"""Every row that says "not measured" on an accelerator, in one call within a budget of seconds.

python -m benchmarks.accelerator --budget 540 --out docs/results/speed_accelerator
"""
