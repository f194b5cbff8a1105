"""Every fault is named with its file, its line and a mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.registry import app
from ingest.registry import RegistryError, check, load
from ingest.registry.findings import FINDINGS_OF_A_KIND
from tests.ingest.registry.folders import (
    AREAS,
    DEVICES,
    GRIDS,
    POLYGONS,
    collection,
    feature,
    square,
    write,
)

G = "340111002001"


def grid(code: str, rest: str = "甲,居民区,,,,") -> str:
    return f"{GRIDS}{code},{rest}\n"


def device(row: str) -> str:
    return f"{DEVICES}{row}\n"


def area(row: str) -> str:
    return f"{AREAS}{row}\n"


def polygons(*features: Any) -> str:
    return collection(square(f"{G}001", 117.2), square(f"{G}002", 117.3), *features)


OPEN = [[[118.0, 31], [118.1, 31], [118.1, 31.1], [118.0, 31.1]]]
SWAPPED = [[[31, 117], [31.1, 117], [31.1, 117.1], [31, 117]]]
FLAT = [[[118.0, 31], [118.1, 31], [118.0, 31]]]
FAR = [[[1180.0, 31], [118.1, 31], [118.1, 31.1], [1180.0, 31]]]
TEXT = [[["118", "31"], [118.1, 31], [118.1, 31.1], ["118", "31"]]]

ERRORS = [
    pytest.param(
        {"areas": area("34011,district,x")},
        "areas.csv:5: code: 34011 has 5 digits, not 6; mend: give all 6 digits; "
        "leading zeros count",
        id="area-short",
    ),
    pytest.param(
        {"areas": area("340112001,street,x")},
        "areas.csv:5: code: its district 340112 is missing; "
        "mend: add a row 340112,district,... to areas.csv",
        id="area-parent",
    ),
    pytest.param(
        {"areas": area("340111,district,x")},
        "areas.csv:5: code: 340111 stands on line 2 already; mend: keep one of the two",
        id="area-twice",
    ),
    pytest.param(
        {"areas": area("340111003,town,x")},
        "areas.csv:5: level: 'town' is no level; mend: write district, street or community",
        id="area-level",
    ),
    pytest.param(
        {"areas": area("340111000,street,x")},
        "areas.csv:5: code: street part is 000; mend: give the street its number; it is never 000",
        id="street-000",
    ),
    pytest.param(
        {"areas": area("340111003,street")},
        "areas.csv:5: row: 2 fields, the header has 3; mend: check the commas of this row; "
        "fields that hold one need quotes",
        id="ragged",
    ),
    pytest.param(
        {"grids": grid("34011100200100")},
        "grids.csv:5: code: 34011100200100 has 14 digits, not 15; mend: give all 15 digits; "
        "leading zeros count",
        id="grid-14",
    ),
    pytest.param(
        {"grids": grid("")},
        "grids.csv:5: code: empty; mend: give the 15 digits of the grid code",
        id="grid-empty",
    ),
    pytest.param(
        {"grids": grid("3.40111E+14")},
        "grids.csv:5: code: 3.40111E+14 is a rounded number; mend: format the column as text in "
        "the spreadsheet and enter the codes again",
        id="spreadsheet",
    ),
    pytest.param(
        {"grids": grid("34011100200100１")},
        "grids.csv:5: code: 34011100200100１ has digits of another script; mend: write 0-9",
        id="full-width-digit",
    ),
    pytest.param(
        {"grids": grid("340111002001O04")},
        "grids.csv:5: code: '340111002001O04' holds more than digits; mend: write 15 digits 0-9 "
        "without blanks",
        id="letter-o",
    ),
    pytest.param(
        {"grids": grid(f" {G}004")},
        f"grids.csv:5: code: ' {G}004' holds more than digits; mend: write 15 digits 0-9 "
        "without blanks",
        id="blank",
    ),
    pytest.param(
        {"grids": grid("01010634011100200105")},
        "grids.csv:5: code: 01010634011100200105 looks like a CJ/T 349 community code of 20 "
        f"digits; mend: drop the first 6 digits and write the sequence with three: {G}005",
        id="cjt349",
    ),
    pytest.param(
        {"grids": grid("01010634011100200100")},
        "grids.csv:5: code: 01010634011100200100 looks like a CJ/T 349 community code of 20 "
        f"digits; mend: it names the community {G}, not a grid; give the grid's own code",
        id="cjt349-community",
    ),
    pytest.param(
        {"grids": grid(f"{G}000")},
        "grids.csv:5: code: grid part is 000; mend: give the grid its number; it is never 000",
        id="grid-000",
    ),
    pytest.param(
        {"grids": grid("340111002002001")},
        "grids.csv:5: code: its community 340111002002 is missing; "
        "mend: add a row 340111002002,community,... to areas.csv",
        id="grid-parent",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,小区,,,,")},
        "grids.csv:5: kind: '小区' is no kind of grid; "
        "mend: write 居民区, 基础 or 专属 (residential, base, dedicated)",
        id="kind",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,2026/3/1,,,")},
        "grids.csv:5: valid_from: '2026/3/1' is no time; "
        "mend: write a date as 2026-03-01, or a time as 2026-03-01T08:00:00+08:00",
        id="date",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,2026-03-01T08:00:00,,,")},
        "grids.csv:5: valid_from: '2026-03-01T08:00:00' is no time; "
        "mend: write a date as 2026-03-01, or a time as 2026-03-01T08:00:00+08:00",
        id="time-without-zone",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,2026-03-01,2026-03-01,,")},
        "grids.csv:5: valid_to: not later than valid_from; "
        "mend: valid_to is the first moment at which the code is no longer valid",
        id="backwards",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,,,停用,")},
        "grids.csv:5: state: '停用' is no state; mend: write 有效 or 作废 (valid, void)",
        id="state",
    ),
    pytest.param(
        {"grids": grid(f"{G}003", "新,base,2025-01-01,,有效,")},
        f"grids.csv:5: code: void code {G}003 is used again, see grids.csv:4; "
        "mend: give the grid a new code; void codes are never used again",
        id="void-reused",
    ),
    pytest.param(
        {"grids": grid(f"{G}002", "新,base,2025-01-01,,有效,")},
        f"grids.csv:5: code: {G}002 is valid twice at a time, see grids.csv:3; "
        "mend: keep one row, or end the earlier with valid_to",
        id="overlap",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}004", OPEN))},
        "grids.geojson:5: kind: '' is no kind of grid; "
        "mend: write 居民区, 基础 or 专属 (residential, base, dedicated)",
        id="feature-without-kind",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", OPEN))},
        "grids.geojson:5: geometry: polygon is not closed; "
        "mend: repeat the first position at the end of the ring",
        id="open-polygon",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", FLAT))},
        "grids.geojson:5: geometry: polygon is empty; mend: give it three corners or more",
        id="flat-polygon",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", SWAPPED))},
        "grids.geojson:5: geometry: [31.0, 117.0] is outside the earth; "
        "mend: longitude and latitude are swapped: write longitude first",
        id="swapped",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", FAR))},
        "grids.geojson:5: geometry: [1180.0, 31.0] is outside the earth; "
        "mend: write longitude first, then latitude, in degrees",
        id="off-the-earth",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", TEXT))},
        "grids.geojson:5: geometry: coordinates aren't [lon, lat] pairs; "
        "mend: write numbers in degrees",
        id="text-coordinates",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", []))},
        "grids.geojson:5: geometry: no coordinates; mend: draw the grid as a polygon",
        id="no-rings",
    ),
    pytest.param(
        {"polygons": polygons(feature(f"{G}003", [117.2, 31.7], "Point"))},
        "grids.geojson:5: geometry: no Polygon or MultiPolygon; mend: draw the grid as a polygon",
        id="point",
    ),
    pytest.param(
        {"polygons": polygons(feature(int(f"{G}003"), OPEN))},  # type: ignore[arg-type]
        'grids.geojson:5: code: no text; mend: write it in quotes: "code": "..."; '
        "a code is never a number",
        id="code-as-number",
    ),
    pytest.param(
        {"devices": device("sm 2,smoke,gw-1,,117.25,31.75,,,,")},
        "devices.csv:5: device: 'sm 2' is no id; mend: use 1 to 64 of A-Z a-z 0-9 _ -, "
        "without blanks",
        id="device-id",
    ),
    pytest.param(
        {"devices": device("sm-0001,smoke,gw-1,,117.25,31.75,,,,")},
        "devices.csv:5: device: sm-0001 stands in an earlier row already; "
        "mend: keep one of the rows; the first counts",
        id="device-twice",
    ),
    pytest.param(
        {"devices": device("sm-2,toaster,gw-1,,117.25,31.75,,,,")},
        "devices.csv:5: family: 'toaster' is no family; mend: write one of smoke, firewater, "
        "efire, elevator, ebike, camera, elderly, water, gas, gateway",
        id="family",
    ),
    pytest.param(
        {"devices": device("sm-2,smoke,gw/1,,117.25,31.75,,,,")},
        "devices.csv:5: gateway: 'gw/1' is no id; mend: use 1 to 64 of A-Z a-z 0-9 _ -, "
        "without blanks",
        id="gateway-id",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}009,,,,,,")},
        f"devices.csv:5: grid: grid {G}009 isn't in the registry; "
        "mend: add the grid, or correct the code",
        id="grid-unknown",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}003,,,,,,")},
        f"devices.csv:5: grid: grid {G}003 is void; "
        "mend: give the code of the grid that took its place",
        id="grid-void",
    ),
    pytest.param(
        {"devices": device("sm-2,smoke,gw-1,34011,,,,,,")},
        "devices.csv:5: grid: 34011 has 5 digits, not 15; mend: give all 15 digits; "
        "leading zeros count",
        id="grid-malformed",
    ),
    pytest.param(
        {"devices": device("sm-2,smoke,gw-1,,,,,,,")},
        "devices.csv:5: grid: neither grid nor point; "
        "mend: give the code of its grid, or lon and lat",
        id="nowhere",
    ),
    pytest.param(
        {"devices": device("sm-2,smoke,gw-1,,118.5,31.75,,,,")},
        "devices.csv:5: lon: point lies in no grid; "
        "mend: give the code of its grid, or check the point",
        id="point-outside",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}001,117.25,,,,,")},
        "devices.csv:5: lon: half a point; mend: give both lon and lat, or neither",
        id="half-a-point",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}001,E117,N31,,,,")},
        "devices.csv:5: lat: 'N31' is no lat; mend: write degrees from -90 to 90, as 117.283",
        id="degrees-in-words",
    ),
]


@pytest.mark.parametrize(("files", "want"), ERRORS)
def test_errors(tmp_path: Path, files: dict[str, str], want: str) -> None:
    findings = check(write(tmp_path, **files))
    assert want in [str(one) for one in findings if one.level == "error"]
    assert not any(one.unreadable for one in findings)
    load(tmp_path)  # A faulty row is no reason to have no registry.


WARNINGS = [
    pytest.param(
        {"areas": area("340111600,street,x")},
        "areas.csv:5: code: warning: street part 600 is outside 001-599; "
        "mend: check it; if it is the official code, leave it",
        id="street-range",
    ),
    pytest.param(
        {"areas": area("340111002500,community,x")},  # Such a code is in use.
        "areas.csv:5: code: warning: community part 500 is outside 001-399; "
        "mend: check it; if it is the official code, leave it",
        id="community-range",
    ),
    pytest.param(
        {"areas": area("340111003,street,")},
        "areas.csv:5: name: warning: empty; mend: name the street",
        id="area-name",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", ",base,,,,")},
        "grids.csv:5: name: warning: empty; mend: name the grid",
        id="grid-name",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,,2025-01-01,作废,")},
        "grids.csv:5: reason: warning: void without a reason; mend: say why",
        id="void-reason",
    ),
    pytest.param(
        {"grids": grid(f"{G}004", "甲,base,,,作废,拆迁")},
        "grids.csv:5: valid_to: warning: void without a time; "
        "mend: give the time; until then the code counts as never valid",
        id="void-time",
    ),
    pytest.param(
        {"polygons": POLYGONS.replace(f'"code": "{G}002"', f'"code": "{G}002", "name": "乙"')},
        "grids.geojson:4: name: warning: '乙' differs from '万达广场' in grids.csv, which counts; "
        "mend: make both the same, or leave it out here",
        id="two-names",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}001,117.35,31.75,,,,")},
        f"devices.csv:5: grid: warning: point lies in grid {G}002; "
        f"mend: check the point; written is {G}001",
        id="other-grid",
    ),
    pytest.param(
        {"devices": device(f"sm-2,smoke,gw-1,{G}001,118.35,31.75,,,,")},
        "devices.csv:5: lon: warning: point lies in no grid; mend: check the point and the polygon",
        id="no-grid",
    ),
]


@pytest.mark.parametrize(("files", "want"), WARNINGS)
def test_warnings(tmp_path: Path, files: dict[str, str], want: str) -> None:
    assert [str(one) for one in check(write(tmp_path, **files))] == [want]


def test_swapped_degrees_of_a_device(tmp_path: Path) -> None:
    findings = check(write(tmp_path, devices=device("sm-2,smoke,gw-1,,31.75,117.25,,,,")))
    assert [str(one) for one in findings] == [
        "devices.csv:5: lat: '117.25' is no lat; "
        "mend: are lon and lat swapped? Latitude is from -90 to 90"
    ]


def test_a_province_that_is_none(tmp_path: Path) -> None:
    areas = "code,level,name\n990111,district,x\n"
    files = {"areas": areas, "grids": "code,name,kind\n", "polygons": collection(),
             "devices": "device,family\n"}  # fmt: skip
    assert [str(one) for one in check(write(tmp_path / "on", **files))] == [
        "areas.csv:2: code: 99 is no province; "
        "mend: correct it, or set codes.province_check = false in registry.toml"
    ]
    off = write(tmp_path / "off", toml="[codes]\nprovince_check = false\n", **files)
    assert check(off) == []


UNREADABLE = [
    pytest.param({"areas": b""}, "areas.csv:1: header: empty file; mend:", id="empty"),
    pytest.param(
        {"areas": "code,name\n"}, "areas.csv:1: level: column missing; mend:", id="column"
    ),
    pytest.param(
        {"devices": "device,family,family\n"},
        "devices.csv:1: family: column named twice; mend:",
        id="column-twice",
    ),
    pytest.param(
        {"devices": "device,family,\n"},
        "devices.csv:1: header: column without a name; mend:",
        id="column-nameless",
    ),
    pytest.param(
        {"areas": AREAS.encode("gbk")}, "areas.csv:1: file: not UTF-8 from about here", id="gbk"
    ),
    pytest.param(
        {"devices": 'device,family\n"a"b,smoke\n'},
        "devices.csv:2: file: ',' expected after '\"'; mend: quote",
        id="quotes",
    ),
    pytest.param(
        {"devices": 'device,family\n"a,smoke\n'},
        "devices.csv:2: file: unexpected end of data; mend: quote",
        id="open-quote",
    ),
    pytest.param(
        {"polygons": '{"type":\n"FeatureCollection",\n}'},
        "grids.geojson:3: json: ",
        id="json",
    ),
    pytest.param({"polygons": "[]"}, "grids.geojson:1: type: no FeatureColl", id="no-collection"),
    pytest.param(
        {"polygons": "[" * 100_000}, "grids.geojson:0: json: nested too deeply", id="deep"
    ),
    pytest.param({"polygons": b"\xff"}, "grids.geojson:0: file: not UTF-8", id="geojson-utf8"),
    pytest.param(
        {"polygons": '{"type": "FeatureCollection", "features": {}}'},
        "grids.geojson:1: features: no array",
        id="features",
    ),
    pytest.param(
        {"polygons": collection(square(f"{G}001", 117.2), {"type": "Feature"})},
        "grids.geojson:4: features: no feature with properties",
        id="no-properties",
    ),
    pytest.param({"toml": "[codes]\nx ="}, "registry.toml:2: toml: ", id="toml"),
    pytest.param({"toml": "[codes\n\n"}, "registry.toml:1: toml: ", id="toml-section"),
    pytest.param({"toml": "[code]\n"}, "registry.toml:0: code: unknown key", id="section"),
    pytest.param({"toml": "codes = 3\n"}, "registry.toml:0: codes: unknown key", id="no-section"),
    pytest.param(
        {"toml": "[codes]\nlength = 15\n"}, "registry.toml:0: length: unknown key", id="key"
    ),
    pytest.param(
        {"toml": "[codes]\nlengths = [6, 9, 12]\n"},
        "registry.toml:0: codes.lengths: [6, 9, 12]; mend:",
        id="lengths",
    ),
    pytest.param(
        {"toml": '[codes]\ndedicated_marker = "["\n'},
        "registry.toml:0: codes.dedicated_marker: ",
        id="marker",
    ),
    pytest.param(
        {"toml": "[codes]\nprovince_check = 1\n"},
        "registry.toml:0: codes.province_check: no boolean",
        id="check",
    ),
    pytest.param(
        {"toml": '[time]\nutc_offset = "8"\n'}, "registry.toml:0: time.utc_offset: '8'", id="zone"
    ),
]


@pytest.mark.parametrize(("files", "want"), UNREADABLE)
def test_unreadable(tmp_path: Path, files: dict[str, str | bytes], want: str) -> None:
    folder = write(tmp_path, **files)
    findings = [one for one in check(folder) if one.unreadable]
    assert [str(one)[: len(want)] for one in findings] == [want]
    with pytest.raises(RegistryError) as error:
        load(folder)
    assert error.value.findings == findings


def test_no_grids_at_all(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "grids.csv").unlink()
    (folder / "grids.geojson").unlink()
    findings = check(folder)
    assert [(one.file, one.problem) for one in findings] == [("grids.csv", "missing")]


def test_a_flood_of_one_fault_is_counted(tmp_path: Path) -> None:
    rows = "".join(f"d {i},smoke\n" for i in range(FINDINGS_OF_A_KIND + 5))
    findings = check(write(tmp_path, devices=f"device,family\n{rows}"))
    assert len(findings) == FINDINGS_OF_A_KIND + 1
    assert findings[0].problem == "5 more: id"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_command_fine(tmp_path: Path) -> None:
    status, out, _ = run("check", str(write(tmp_path)))
    assert (status, out) == (0, f"{tmp_path}: 0 errors, 0 warnings\n")


def test_command_warnings_only(tmp_path: Path) -> None:
    status, out, _ = run("check", str(write(tmp_path, areas=area("340111600,street,x"))))
    assert status == 0
    assert out.startswith("areas.csv:5: code: warning:")


def test_command_errors(tmp_path: Path) -> None:
    status, out, _ = run("check", str(write(tmp_path, areas=area("34011,district,x"))))
    assert status == 1
    assert out.splitlines()[-1] == f"{tmp_path}: 1 errors, 0 warnings"


def test_command_wrong_use(tmp_path: Path) -> None:
    status, out, err = run("check", str(tmp_path / "nowhere"))
    assert (status, out) == (2, "")
    assert "no such folder; mend:" in err


def test_command_json(tmp_path: Path) -> None:
    status, out, _ = run("check", str(write(tmp_path, areas=area("34011,district,x"))), "--json")
    document = json.loads(out)
    assert status == 1
    assert (document["errors"], document["warnings"]) == (1, 0)
    assert document["findings"][0]["file"] == "areas.csv"
    assert document["findings"][0]["line"] == 5
