"""Step time against the number of devices, up to 256: calculated from counts and rates, not measured."""

from benchmarks import cases, tables
from fss_jax import methods
from fss_jax.reports import model_summary

# What the calculation assumes: a node of H200s (performance.md) and a cluster of them.
RATE = 790e12 * 0.45  # FLOP/s of a device: measured product in bfloat16 at an MFU of 45%
NODE = 8  # devices
NVLINK, NETWORK = 450e9, 50e9  # bytes/s of a device each way: inside a node, between nodes
LATENCY = 20e-6  # seconds per hop of the ring
BATCHES = (1, 8)  # episodes per device
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def all_reduce_seconds(gradient_bytes: float, devices: int) -> float:
    """A ring all-reduce: 2 (n - 1) / n of the bytes pass every link; the slowest link decides."""
    if devices == 1:
        return 0.0
    rate = NVLINK if devices <= NODE else NETWORK
    return 2 * (devices - 1) / devices * gradient_bytes / rate + 2 * (devices - 1) * LATENCY


def calculate(name: str, batch: int) -> list[dict]:
    """Step time against devices; nothing of the messages is hidden behind the backward pass."""
    config = cases.get_config(name)
    model = methods.build_from(config)
    episode = model_summary.episode_shapes(
        shots=config.shots,
        queries=config.queries,
        support_size=config.support_size,
        query_size=config.query_size,
    )
    variables = model_summary.variable_shapes(model, episode)
    gradient_bytes = 4 * model_summary.count(variables["params"])  # float32
    flop = 2 * 3 * sum(model_summary.macs_of_halves(model, variables, episode)) * batch
    rows = []
    for devices in COUNTS:
        compute, message = flop / RATE, all_reduce_seconds(gradient_bytes, devices)
        rows.append(
            {
                "case": name,
                "batch_per_device": batch,
                "devices": devices,
                "gradient_bytes": gradient_bytes,
                "compute_s": compute,
                "all_reduce_s": message,
                "episodes_per_second": devices * batch / (compute + message),
                "efficiency": compute / (compute + message),
            }
        )
    return rows


def table(rows: list[dict]) -> list[str]:
    """`calculate`'s rows as Markdown, with what they assume."""
    cells = [
        [
            r["case"], str(r["batch_per_device"]), str(r["devices"]),
            f"{1e3 * r['compute_s']:.1f}", f"{1e3 * r['all_reduce_s']:.1f}",
            f"{r['episodes_per_second']:.0f}", f"{100 * r['efficiency']:.0f}%",
        ]
        for r in rows
    ]  # fmt: skip
    header = [
        "case",
        "batch each",
        "devices",
        "compute, ms",
        "all-reduce, ms",
        "ep/s",
        "efficiency",
    ]
    return [
        "## Calculated, not measured",
        "",
        f"Assumed: {RATE / 1e12:.0f} TFLOP/s a device (45% of the 790 that an H200 reaches in a "
        "bfloat16 product); float32 gradients in one ring all-reduce after the backward pass, "
        f"none of it hidden; {NVLINK / 1e9:.0f} GB/s each way inside a node of {NODE}, "
        f"{NETWORK / 1e9:.0f} GB/s a device between nodes, {1e6 * LATENCY:.0f} us a hop; data "
        "resident: each host keeps its bank and draws its slice of the records, so input does not "
        "grow with devices. Shots and queries are those of the configs.",
        "",
        *tables.markdown(header, cells),
    ]
