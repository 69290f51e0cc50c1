"""Settings of SMTPC from the configuration."""

from meta1g.smtpc.settings import Settings
from tests.unit.conf.text import load


def test_io_timeout_is_the_timeout_of_every_step_without_its_own():
    settings = Settings.from_config(load("smtpc { IO_timeout = 7s; dot_timeout = 1m; }"))
    steps = (settings.greeting_timeout_s, settings.command_timeout_s, settings.data_timeout_s, settings.block_timeout_s)
    assert steps == (7, 7, 7, 7)
    assert settings.dot_timeout_s == 60
    assert settings.connect_timeout_s == 30


def test_without_io_timeout_the_steps_have_the_times_of_rfc_5321():
    settings = Settings.from_config(load("smtpc { }"))
    steps = (settings.greeting_timeout_s, settings.command_timeout_s, settings.data_timeout_s, settings.block_timeout_s)
    assert (*steps, settings.dot_timeout_s) == (300, 300, 120, 180, 600)
