"""Results as JSON and Markdown, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import machine
from fss_jax.reports.page import Table
from fss_jax.runtime import files


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return str(Table(header, rows)).splitlines()


def save(out: str | Path, result: dict, title: str, lines: Sequence[str]) -> str:
    """Writes OUT.json and OUT.md; returns the Markdown.

    Args:
      result: JSON-able, with `machine.facts`.
      lines: the body of the Markdown.
    """
    text = "\n".join(
        [f"# {title}", "", *lines, "", machine.line(result), "", f"`{result['command']}`", ""]
    )
    files.write_json(Path(f"{out}.json"), result)
    files.write_text(Path(f"{out}.md"), text)
    return text


def one_line(error: BaseException) -> str:
    """What went wrong, in a line of a table."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"[:200].replace("|", "/")


def rates(result: Mapping) -> str:
    """The matrix rates that MFU refers to."""
    return ", ".join(f"{v / 1e9:.0f} GFLOP/s {k}" for k, v in result["matrix_rate"].items())


def episodes(result: Mapping) -> list[str]:
    """Rows of works.MODES as Markdown."""
    header = (
        "case mode shots batch products ep/s img/s GFLOP/ep MFU%(best) quartiles,ms wait% "
        "compile,s arguments,GiB temporary,GiB peak,GiB"
    ).split()
    lines = []
    for r in result["rows"]:
        kind = r["dtype"] if r["dtype"] != "float32" else r.get("precision", "float32")
        other = [f"{name}={value}" for name, value in r.get("changes", ())]
        other += [f"{r['devices']} devices"] if r.get("devices", 1) > 1 else []
        other += [r["switch"]] if r.get("switch") else []
        many = f"{r['batch']} of {r['images']}" if r.get("images") else str(r["batch"])
        cells = [", ".join([r["case"], *other]), r["mode"], str(r["shots"] or ""), many]
        cells += [kind]
        if "failed" in r:
            lines.append([*cells, r["failed"]] + [""] * (len(header) - len(cells) - 1))
            continue
        low, high = (1e3 * value for value in r["quartiles_s"])
        cells += [f"{r['episodes_per_second']:.3g}", f"{r['images_per_second']:.3g}"]
        cells += [f"{r['gflop_per_episode']:.1f}" if "gflop_per_episode" in r else ""]
        cells += [f"{100 * r['mfu']:.0f} ({100 * r['mfu_of_best']:.0f})" if "mfu" in r else ""]
        cells += [f"{low:.3g} to {high:.3g}"]
        cells += [f"{100 * r['wait_share']:.1f}" if "wait_share" in r else ""]
        cells += [f"{r['compile_seconds']:.1f}"]
        memory = ("argument_bytes", "temporary_bytes", "peak_bytes")
        cells += [machine.gibibytes(r[name]) if name in r else "" for name in memory]
        lines.append(cells)
    one = result["rows"][0]
    note = "" if one["width"] == 1 else f" Channels at {one['width']:g} of the published width."
    note += f" Images of {one['size']} px." if one["size"] else ""
    return [
        f"Matrix rate of this device, which MFU refers to: {rates(result)}.{note} Compiling is counted "
        "with the persistent cache on; peak is the process's so far.",
        "",
        *markdown([name.replace(",", ", ") for name in header], lines),
    ]


def beside_torch(result: Mapping) -> list[str]:
    """Rows of pairs.MODES as Markdown."""

    def told(facts: dict) -> str:
        low, high = facts["quartiles_s"]
        return f"{1e3 * facts['median_s']:.0f} ({1e3 * low:.0f} to {1e3 * high:.0f})"

    def times(speedup: dict) -> str:
        low, high = speedup["rounds"]
        cpu = f"; CPU time {speedup['of_cpu']:.2f}" if speedup["of_cpu"] else ""
        return (
            f"**{speedup['of_medians']:.2f}** (best {speedup['of_best']:.2f}{cpu}; rounds {low:.2f} to "
            f"{high:.2f})"
        )

    lines = []
    for r in result["rows"]:
        cells = [r["case"], r["mode"], str(r["shots"]), str(r["batch"])]
        if "failed" in r:
            lines.append([*cells, r["failed"], "", "", ""])
            continue
        cells += [told(r["times"]["ours"])]
        cells += [f"{told(r['times'][r['faster_peer']])}, {r['faster_peer']}", times(r["speedup"])]
        way = r.get("speedup_over_released_way")
        lines.append([*cells, times(way) if way else ""])
    header = [
        "case", "mode", "shots", "batch", "ours, ms (quartiles)", "PyTorch, ms (quartiles)",
        "PyTorch / ours", "support encoded for every image / ours",
    ]  # fmt: skip
    scale = f"{result['width']:g} of the published width, " if result["width"] != 1 else ""
    scale += f"images of {result['size']} px, " if result["size"] else "published sizes, "
    version = ""
    if "torch" in result:
        version = f"torch {result['torch']}, {result['torch_threads']} threads"
    label = (
        f"Labelling: {result['images']} images a call, five supports. " if result["images"] else ""
    )
    return [
        f"{scale}{result['dtype']}; {version or 'no PyTorch here'}. {label}Above 1, ours is faster.",
        "",
        *markdown(header, lines),
    ]
