"""The page that a browser shows: what is heard now, the episodes, what may be changed. It decides nothing.

    page         the door: opened and closed by the daemon, and handed what happens
    access       where it is, and who gets in
    device       what it may ask of the daemon
    feed         what the listening threads hand over, for who watches; `spectrum`: sound as columns
    choices      what a person chose, beside config.yaml
    lines        the newest lines of the log
    opening      what needs the web extra, loaded only by who opens the page:
      server     uvicorn in a thread; `door`: few connections, however many come
      gate       what every request has to pass; `keys`: the password, sessions, rates
      entrance, watching, episodes, past, enrolment, settings, bundle
                 the views, as JSON; `answers`: what they have in common
      assets     the files that the browser loads: HTML, CSS and JavaScript by hand, and the texts

docs/page.md is for who opens it to a network.
"""

from edge.page.access import address_of, password_of, tls_of
from edge.page.choices import ChoiceFile, Choices, chosen
from edge.page.device import Device
from edge.page.page import Page

__all__ = [
    "ChoiceFile",
    "Choices",
    "Device",
    "Page",
    "address_of",
    "chosen",
    "password_of",
    "tls_of",
]
