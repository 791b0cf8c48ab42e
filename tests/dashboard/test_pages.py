"""The pages over real HTTP: what a browser without a script sees, under which headers, and who may."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from api_application import create_app
from dashboard.words import grams, pounds
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of
from grid_world import NOW, store_world
from metered_runs import metered_run, run_now
from served import Client, served
from settings import load_settings

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = "a-key-of-the-platform"
GUARDED = {"PYLON_API_KEY": KEY, "API_HOST": "0.0.0.0", "BG_HOST": "0.0.0.0"}


@pytest.fixture
def guarded(postgres: PostgresDatabase) -> Iterator[Client]:
    """A server that asks everybody for a key."""
    store_world(postgres)
    with served(create_app(postgres, load_settings(GUARDED), clock=lambda: NOW)) as client:
        yield client


def test_a_browser_is_led_to_the_pages_and_other_clients_are_not(api: Client) -> None:
    led = api.get("/", headers=HTML, allow_redirects=False)
    assert (led.status_code, led.headers["Location"]) == (302, "/dashboard/")
    assert "Accept" in led.headers["Vary"]
    for accepted in ("*/*", "application/json", "application/json, text/plain, */*"):
        assert api.get("/", headers={"Accept": accepted}).json()["service"] == "pylon-deg api server"


def test_now_shows_every_region_with_its_figure_source_and_age(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = api.get("/dashboard/")
    assert page.status_code == 200
    assert page.text.count('class="area index-moderate"') == 14
    assert "North Scotland: 10 gCO₂/kWh, moderate" in page.text
    assert "Carbon Intensity API" in page.text
    assert "0 min old" in page.text
    assert "Sun 22 Nov 08:04 UTC" in page.text
    assert "08:04 GMT" in page.text
    assert page.text.count('<svg class="chart"') == 4
    assert page.text.count('<svg class="chart shares"') == 1  # one half-hour's mix is no curve yet
    assert "all that is known yet" in page.text
    assert 'href="/dashboard/api/v1/grid/forecast/regions"' in page.text


def test_now_leads_to_the_form_and_tells_what_work_has_saved(postgres: PostgresDatabase) -> None:
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW + timedelta(days=1))) as later:
        page = later.get("/dashboard/").text
        assert "None yet. Submit some" in page
        assert 'href="/dashboard/workloads/new"' in page
        assert "saved in 7 days" not in page
        store_world(postgres)
        metered_run(postgres, "ran-1", start=half_hour_of(NOW), dc_id="DC-001", run_now=run_now(dc_id="DC-002"))
        page = later.get("/dashboard/").text
        compared = later.get("/api/v1/savings?by=day").json()["total"]["compared"]
    assert 'href="/dashboard/workloads/ran-1"' in page
    assert f"{grams(compared['realised_saving_gco2'])} <small>CO₂</small>" in page
    assert pounds(compared["realised_saving_gbp"]) in page


def test_the_example_of_now_is_answered_beside_the_form(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    (example,) = re.findall(r'href="([^"]+)">Try an example', api.get("/dashboard/").text)
    page = api.get(html.unescape(example)).text
    assert "Considered and chosen" in page
    assert "Price of the place" in page
    assert "unknown, because no joint plan of the platform prices it yet" in page
    assert re.findall(r'href="([^"]+)">Try an example', api.get("/dashboard/workloads/new").text) == [example]


def test_before_the_first_run_everything_is_unknown_and_nothing_is_zero(api: Client) -> None:
    page = api.get("/dashboard/")
    assert page.status_code == 200
    assert page.text.count('class="area index-unknown"') == 14
    assert "The first pipeline run has not finished yet" in page.text
    assert ">0</" not in re.sub(r'<text class="tick".*?</text>', "", page.text)


def test_a_region_has_its_page_and_an_unknown_one_is_404(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = api.get("/dashboard/regions/13")
    assert "<h1>London</h1>" in page.text
    assert 'href="/dashboard/api/v1/grid/history?' in page.text
    assert api.get("/dashboard/regions/18").status_code == 404


def test_a_page_loads_nothing_but_our_own(api: Client) -> None:
    page = api.get("/dashboard/")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "connect-src 'self' http://127.0.0.1:5050 ws://127.0.0.1:5050;" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert not re.search(r"<[^>]+\sstyle=", page.text)
    assert not re.search(r"<[^>]+\son\w+=", page.text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith(("/", "#")), address


def test_whoever_comes_from_outside_has_the_style_sheet_within_the_page(api: Client) -> None:
    for site in ("none", "cross-site"):
        page = api.get("/dashboard/", headers={"Sec-Fetch-Site": site})
        assert 'rel="stylesheet"' not in page.text
        (sheet,) = re.findall(r"<style>(.*)</style>", page.text)
        digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
        assert f"style-src 'self' 'sha256-{digest}';" in page.headers["Content-Security-Policy"]
        assert "Sec-Fetch-Site" in page.headers["Vary"]
    for told in ({"Sec-Fetch-Site": "same-origin"}, {}):  # led here by a page of ours, or a client that does not say
        page = api.get("/dashboard/", headers=told)
        assert 'rel="stylesheet"' in page.text
        assert "<style>" not in page.text
        assert "style-src 'self';" in page.headers["Content-Security-Policy"]


def test_the_documentation_keeps_its_own_policy(api: Client) -> None:
    assert "form-action 'none'" in api.get("/docs").headers["Content-Security-Policy"]


def test_static_files_are_named_after_what_is_in_them_and_kept_for_ever(api: Client) -> None:
    page = api.get("/dashboard/").text
    (sheet,) = re.findall(r'href="(/dashboard/static/[^"]+\.css)"', page)
    answer = api.get(sheet)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith("text/css")
    assert api.get(sheet, headers={"Accept-Encoding": "identity"}).text == answer.text
    assert api.get(re.sub(r"static/\w+", "static/000000000000", sheet)).status_code == 404


def test_first_load_is_within_its_budget(api: Client, postgres: PostgresDatabase) -> None:
    """In bytes over the wire and as written; scripts alone as written."""
    store_world(postgres)
    page = api.get("/dashboard/", stream=True)
    sent = len(page.raw.read())
    plain = len(api.get("/dashboard/").content)
    folder = re.findall(r"/dashboard/static/\w+/", api.get("/dashboard/").text)[0]
    names = re.findall(r"/dashboard/static/\w+/([\w.]+)", api.get("/dashboard/").text)
    assert sorted(names) == ["dashboard.css", "icon.svg", "page.js"]
    sent += sum(len(api.get(folder + name, stream=True).raw.read()) for name in names)
    assert sent <= 60_000
    assert plain <= 100_000
    assert len(api.get(folder + "page.js").content) <= 25_000


def test_without_a_credential_a_page_leads_to_the_form_and_back(guarded: Client) -> None:
    led = guarded.get("/dashboard/regions/13?x=1", headers=HTML, allow_redirects=False)
    assert (led.status_code, led.headers["Location"]) == (
        303,
        "/dashboard/sign-in?next=/dashboard/regions/13%3Fx%3D1",
    )
    assert "WWW-Authenticate" not in led.headers
    form = guarded.get("/dashboard/regions/13", headers=HTML)
    assert guarded.get("/dashboard/regions/13").status_code == 401
    assert 'value="/dashboard/regions/13?x=1"' not in form.text
    assert 'value="/dashboard/regions/13"' in form.text


def test_a_credential_typed_once_opens_pages_and_their_json_alone(guarded: Client) -> None:
    refused = guarded.post("/dashboard/sign-in", data={"credential": "wrong-key-altogether"})
    assert refused.status_code == 401
    assert "Not accepted" in refused.text
    taken = guarded.post(
        "/dashboard/sign-in", data={"credential": KEY, "next": "//evil.example/"}, allow_redirects=False
    )
    assert (taken.status_code, taken.headers["Location"]) == (303, "/dashboard/")
    cookie = taken.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/dashboard"} <= {part.strip() for part in cookie.split(";")}
    assert guarded.get("/dashboard/").status_code == 200
    assert guarded.get("/dashboard/api/v1/grid/regional").json()["regions"]
    assert guarded.get("/api/v1/grid/regional").status_code == 401
    gone = guarded.post("/dashboard/sign-out", data={"x": ""}, allow_redirects=False)
    assert gone.headers["Location"] == "/dashboard/sign-in"
    assert guarded.get("/dashboard/").status_code == 401


def test_a_page_of_another_site_signs_nobody_in(guarded: Client) -> None:
    foreign = {"Origin": "https://evil.example"}
    assert guarded.post("/dashboard/sign-in", data={"credential": KEY}, headers=foreign).status_code == 403


def test_the_cookie_writes_only_from_our_own_pages_and_only_json(guarded: Client) -> None:
    guarded.post("/dashboard/sign-in", data={"credential": KEY})
    job = {"job_id": "job-1", "workload_type": "OTHER"}
    foreign = {"Origin": "https://evil.example"}
    assert guarded.post("/dashboard/api/v1/workloads", job, headers=foreign).status_code == 403
    assert guarded.post("/dashboard/api/v1/workloads", data=job).status_code == 415
    assert guarded.post("/dashboard/api/v1/workloads", job).status_code == 201
