"""Simulated rooms of an office building: a controller in each publishes `building/<room>/telemetry`, JSON, QoS 1.

| field | what |
|---|---|
| `room_id` | the room, as in the topic |
| `timestamp` | ISO 8601, UTC, milliseconds, Z |
| `temperature`, `humidity` | °C, % |
| `co2_ppm`, `light_lux` | whole numbers |
| `occupancy_count`, `motion_detected` | people, and whether one of them moved |
| `energy_kwh` | a meter that grows, and goes on where it was when the simulator is started again |
| `air_quality_index` | 0 is clean air, above 100 is bad |

What happens in a room is a plan for each day, drawn from the seed and the day's number: scenes with so many people,
so much light and power. The air follows it slowly (CO2 its people, heat and moisture what is cooked), and never
leaves the room's limits. Pure and reproducible, and one room's stream does not depend on the others.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from heapq import merge
from operator import attrgetter
from random import Random

from edge_assets.rooms import Room as Described
from edge_assets.settings import SimulatorSettings
from edge_assets.sources.appliances import DAY_SECONDS, Appliance, Segment
from edge_assets.sources.message import Message

OUTDOOR_CO2_PPM = 420.0
CO2_SECONDS, HEAT_SECONDS = 600.0, 420.0
"""How slowly a room's air follows its people, and its temperature and moisture what goes on in it."""
NOISE_SECONDS = 90.0
"""How long a small deviation lasts."""
RIPPLE = 0.05
"""Swing of a room's power around its scene's."""

Limits = tuple[float, float]
Clock = Callable[[], float]
"""Seconds since 1970 at which simulated time began, by the clock as it now is."""


@dataclass(frozen=True, slots=True)
class Scene:
    """From `start` (seconds since midnight UTC) to the next scene's start."""

    start: float
    people: int
    watts: float
    lux: float
    heat: float = 0.0
    """°C that it adds in the long run"""
    moisture: float = 0.0
    """% of humidity, likewise"""
    dust: float = 0.0
    """of the air quality index, likewise"""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of room: its limits, what it is like when nothing happens, and its plan of a day."""

    room_id: str
    plan: Callable[[Random], list[Scene]]
    temperature: Limits
    humidity: Limits
    co2_ppm: Limits
    light_lux: Limits
    occupancy_count: tuple[int, int]
    air_quality_index: Limits
    usual: tuple[float, float, float]
    """temperature, humidity, air quality index"""
    noise: float
    """°C; the others' noise is a multiple of it"""
    daylight_lux: float = 0.0
    """what the windows let in at noon"""
    co2_per_person_ppm: float = 60.0
    restless: float = 0.5
    """the chance that somebody is seen moving, of one person at one report"""


def messages(simulators: SimulatorSettings, start: datetime, clock: Clock | None = None) -> Iterator[Message]:
    """All rooms' messages, in order, without end: of each room one every `rooms_interval_seconds` of real time.

    `clock` gives the `timestamp` its origin where the machine's clock may be set meanwhile; by default it is `start`.
    """
    origin = clock or start.timestamp
    rooms = (Room(profile, simulators) for profile in PROFILES[: simulators.rooms])
    return merge(*(room.messages(start, origin) for room in rooms), key=attrgetter("at_seconds"))


class Room:
    """One room. All report at the same moment, as where a gateway asks them: spread over the interval they would wake
    the machine eight times as often, and cost three times as much (1.1 % of a core and not 0.35 %)."""

    def __init__(self, profile: Profile, simulators: SimulatorSettings) -> None:
        self._profile = profile
        self._seed = f"{simulators.seed}/room/{profile.room_id}"
        self._topic = f"{simulators.rooms_base_topic}/{profile.room_id}/telemetry"
        self._speed = simulators.speed
        self._interval = simulators.rooms_interval_seconds * simulators.speed
        # The same seed and day give the meter the same scenes as the room.
        self._meter = Appliance(f"{self._seed}/plan", lambda rng: [_segment(scene) for scene in profile.plan(rng)])
        self._scenes = lru_cache(maxsize=4)(self._make_scenes)

    def messages(self, start: datetime, clock: Clock) -> Iterator[Message]:
        rng, begin, number = Random(f"{self._seed}/air"), start.timestamp(), 0
        air = _Air(self._profile, self.scene(begin), self._interval)
        while True:
            at = round(number * self._interval, 3)
            report = air.report(rng, self.scene(begin + at), begin + at, self._meter.energy_kwh(begin + at))
            stamp = datetime.fromtimestamp(clock() + at / self._speed, UTC).isoformat(timespec="milliseconds")
            fields = {"room_id": self._profile.room_id, "timestamp": stamp.replace("+00:00", "Z"), **report}
            yield Message(at, self._topic, json.dumps(fields, separators=(",", ":")).encode(), qos=1)
            number += 1

    def scene(self, at: float) -> Scene:
        """What goes on at a time (seconds since 1970)."""
        day, second = divmod(at, DAY_SECONDS)
        starts, scenes = self._scenes(int(day))
        return scenes[bisect_right(starts, second) - 1]

    def _make_scenes(self, day: int) -> tuple[list[float], list[Scene]]:
        scenes = self._profile.plan(Random(f"{self._seed}/plan/{day}"))
        return [scene.start for scene in scenes], scenes


class _Air:
    """What lags behind: CO2, heat, moisture, dust; and noise with a memory."""

    def __init__(self, profile: Profile, scene: Scene, step_seconds: float) -> None:
        self._profile = profile
        self._co2 = self._co2_of(scene)
        self._heat, self._moisture, self._dust = scene.heat, scene.moisture, scene.dust
        self._noise = 0.0
        self._follow = 1 - math.exp(-step_seconds / CO2_SECONDS)
        self._warm = 1 - math.exp(-step_seconds / HEAT_SECONDS)
        self._keep = math.exp(-step_seconds / NOISE_SECONDS)
        self._fresh = math.sqrt(1 - self._keep * self._keep)

    def report(self, rng: Random, scene: Scene, at: float, energy_kwh: float) -> dict[str, float | int | bool]:
        """The measured fields at a time; call it once per step."""
        profile = self._profile
        self._co2 += (self._co2_of(scene) - self._co2) * self._follow
        self._heat += (scene.heat - self._heat) * self._warm
        self._moisture += (scene.moisture - self._moisture) * self._warm
        self._dust += (scene.dust - self._dust) * self._warm
        self._noise = self._keep * self._noise + self._fresh * rng.gauss(0, profile.noise)
        jitter = rng.gauss(0, 1)
        warm, damp, index = profile.usual
        stale = (self._co2 - OUTDOOR_CO2_PPM) / 25
        lux = scene.lux + profile.daylight_lux * _sun(at)
        return {
            "temperature": round(_within(warm + self._heat + self._noise + 0.02 * jitter, profile.temperature), 2),
            "humidity": round(_within(damp + self._moisture - 2 * self._noise, profile.humidity), 1),
            "co2_ppm": round(_within(self._co2 + 3 * jitter, profile.co2_ppm)),
            "light_lux": round(_within(lux * (1 + 0.01 * jitter), profile.light_lux)),
            "occupancy_count": scene.people,
            "motion_detected": rng.random() < 1 - (1 - profile.restless) ** scene.people,
            "energy_kwh": round(energy_kwh, 4),
            "air_quality_index": round(_within(index + stale + self._dust + jitter, profile.air_quality_index)),
        }

    def _co2_of(self, scene: Scene) -> float:
        return OUTDOOR_CO2_PPM + 30 + self._profile.co2_per_person_ppm * scene.people


def _segment(scene: Scene) -> Segment:
    return Segment(scene.start, scene.watts, RIPPLE)


def _sun(at: float) -> float:
    """0 at night, 1 at noon (UTC)."""
    return max(0.0, math.sin(2 * math.pi * (at % DAY_SECONDS - 6 * 3_600) / DAY_SECONDS))


def _within(value: float, limits: Limits) -> float:
    return min(max(value, limits[0]), limits[1])


def _filled(minutes: Callable[[], float], scene: Callable[[float], Scene]) -> list[Scene]:
    """Scenes one after the other, from midnight to midnight."""
    scenes, at = [], 0.0
    while at < DAY_SECONDS:
        scenes.append(scene(at))
        at += minutes() * 60
    return scenes


def _runs(
    pause: Callable[[], float], minutes: Callable[[], float], idle: Scene, busy: Callable[[], Scene]
) -> list[Scene]:
    """`idle`, and after each pause (minutes) a busy scene of so many minutes; the day ends idle."""
    scenes, at = [idle], pause() * 60
    while (end := at + minutes() * 60) < DAY_SECONDS:
        scenes += [_at(busy(), at), _at(idle, end)]
        at = end + pause() * 60
    return scenes


def _at(scene: Scene, start: float) -> Scene:
    return Scene(start, scene.people, scene.watts, scene.lux, scene.heat, scene.moisture, scene.dust)


def _server_room(rng: Random) -> list[Scene]:
    """Cold, dry and loud: its load goes up and down by the hour; somebody is always there."""
    return _filled(lambda: rng.uniform(30, 90), lambda at: Scene(at, 1, rng.uniform(5_200, 7_800), 150))


def _conference_room(rng: Random) -> list[Scene]:
    """Empty, then full: warm, stale air, the beamer on."""

    def meeting() -> Scene:
        people = rng.randint(3, 12)
        return Scene(0, people, 500 + 60 * people, 450, heat=0.25 * people, moisture=0.8 * people)

    return _runs(lambda: rng.uniform(15, 50), lambda: rng.uniform(20, 70), Scene(0, 0, 90, 0), meeting)


def _storage_closet(rng: Random) -> list[Scene]:
    """Nothing happens."""
    return [Scene(0, 0, 4, 2)]


def _open_office(rng: Random) -> list[Scene]:
    """Five to eight people at their screens, who come and go."""

    def hour(at: float) -> Scene:
        people = rng.randint(5, 8)
        return Scene(at, people, 600 + 130 * people, 380, heat=0.15 * people, moisture=0.4 * people)

    return _filled(lambda: rng.uniform(12, 45), hour)


def _kitchen(rng: Random) -> list[Scene]:
    """Now and then somebody cooks, or boils water: heat, steam and kilowatts."""

    def cooking() -> Scene:
        watts = rng.uniform(1_800, 5_500)
        return Scene(0, rng.randint(1, 4), watts, 420, heat=watts / 900, moisture=watts / 220, dust=rng.uniform(5, 40))

    return _runs(lambda: rng.uniform(12, 45), lambda: rng.uniform(6, 25), Scene(0, 0, 160, 60), cooking)


def _lab_workshop(rng: Random) -> list[Scene]:
    """Machines on and off, dust and fumes; no two quarters of an hour are alike."""

    def spell(at: float) -> Scene:
        watts = rng.choice((150, 400, 900, 2_200, 3_400)) * rng.uniform(0.8, 1.2)
        return Scene(
            at, rng.randint(0, 4), watts, rng.uniform(200, 1_000), watts / 900, rng.uniform(-6, 6), rng.uniform(0, 130)
        )

    return _filled(lambda: rng.uniform(3, 25), spell)


def _break_room(rng: Random) -> list[Scene]:
    """A few people at a time; the blinds and lamps are always set anew."""
    return _filled(
        lambda: rng.uniform(8, 35),
        lambda at: Scene(at, rng.choice((0, 1, 1, 2, 2, 3)), rng.uniform(120, 320), rng.uniform(80, 420)),
    )


def _executive_office(rng: Random) -> list[Scene]:
    """One person, well looked after, who is out now and then."""
    return _runs(
        lambda: rng.uniform(60, 180),
        lambda: rng.uniform(10, 50),
        Scene(0, 1, 260, 320),
        lambda: Scene(0, 0, 120, 20),
    )


PROFILES = (
    Profile(
        "server_room",
        _server_room,
        temperature=(18, 20),
        humidity=(30, 40),
        co2_ppm=(420, 650),
        light_lux=(100, 200),
        occupancy_count=(1, 1),
        air_quality_index=(10, 40),
        usual=(19, 35, 18),
        noise=0.25,
        restless=0.1,
    ),
    Profile(
        "conference_room",
        _conference_room,
        temperature=(19, 27),
        humidity=(30, 65),
        co2_ppm=(420, 1_600),
        light_lux=(0, 900),
        occupancy_count=(0, 12),
        air_quality_index=(15, 110),
        usual=(20.8, 42, 25),
        noise=0.2,
        daylight_lux=300,
        co2_per_person_ppm=85,
    ),
    Profile(
        "storage_closet",
        _storage_closet,
        temperature=(17, 19),
        humidity=(40, 50),
        co2_ppm=(420, 480),
        light_lux=(0, 5),
        occupancy_count=(0, 0),
        air_quality_index=(20, 45),
        usual=(18, 45, 30),
        noise=0.05,
    ),
    Profile(
        "open_office",
        _open_office,
        temperature=(20, 25),
        humidity=(35, 55),
        co2_ppm=(500, 1_200),
        light_lux=(300, 900),
        occupancy_count=(5, 8),
        air_quality_index=(25, 80),
        usual=(21.3, 41, 30),
        noise=0.15,
        daylight_lux=350,
    ),
    Profile(
        "kitchen",
        _kitchen,
        temperature=(19, 30),
        humidity=(35, 85),
        co2_ppm=(420, 1_200),
        light_lux=(50, 800),
        occupancy_count=(0, 4),
        air_quality_index=(20, 130),
        usual=(21.5, 45, 30),
        noise=0.2,
        daylight_lux=250,
        co2_per_person_ppm=90,
    ),
    Profile(
        "lab_workshop",
        _lab_workshop,
        temperature=(16, 30),
        humidity=(20, 60),
        co2_ppm=(420, 1_100),
        light_lux=(150, 1_300),
        occupancy_count=(0, 4),
        air_quality_index=(70, 300),
        usual=(20.5, 40, 100),
        noise=0.8,
        daylight_lux=200,
        co2_per_person_ppm=80,
        restless=0.8,
    ),
    Profile(
        "break_room",
        _break_room,
        temperature=(20, 23),
        humidity=(38, 52),
        co2_ppm=(420, 800),
        light_lux=(50, 900),
        occupancy_count=(0, 3),
        air_quality_index=(20, 60),
        usual=(21.5, 45, 30),
        noise=0.15,
        daylight_lux=400,
        restless=0.6,
    ),
    Profile(
        "executive_office",
        _executive_office,
        temperature=(21, 22.5),
        humidity=(42, 48),
        co2_ppm=(420, 600),
        light_lux=(10, 500),
        occupancy_count=(0, 1),
        air_quality_index=(15, 40),
        usual=(21.7, 45, 22),
        noise=0.08,
        daylight_lux=100,
        restless=0.3,
    ),
)
"""The building, room by room; `simulators.rooms` takes the first so many."""

FLOORS_AND_KINDS = {
    "server_room": ("0", "technical"),
    "conference_room": ("1", "meeting"),
    "storage_closet": ("0", "storage"),
    "open_office": ("1", "office"),
    "kitchen": ("0", "kitchen"),
    "lab_workshop": ("0", "workshop"),
    "break_room": ("1", "social"),
    "executive_office": ("2", "office"),
}


def described(simulators: SimulatorSettings) -> list[Described]:
    """What a person would have said of the simulated rooms."""
    ids = [profile.room_id for profile in PROFILES[: simulators.rooms]]
    return [Described(room, room.replace("_", " ").capitalize(), *FLOORS_AND_KINDS[room]) for room in ids]
