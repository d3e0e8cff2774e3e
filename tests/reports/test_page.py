"""The page holds all it shows, and nothing in a text can become markup."""

import re

from geojax.reports import Picture, Quantity, Section, Table, form, render_page


def page(**options):
    sections = [
        Section(
            "A <b>match</b>",
            "One.\n\nTwo & three.",
            [Quantity(0.25, "mm", "residual")],
            [
                Picture(b"\x89PNG", "Dots", "One sees <dots>.", "wide"),
                Picture('<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>', "Lines", "Lines."),
            ],
            Table(["name", "value"], [["<script>", 3], ["energy", 1.5e-9]]),
            "A note.",
        )
    ]
    return render_page("Title", "Lead", sections, **options)


def test_page_is_well_formed_and_self_contained(check_page):
    text = page(versions={"jax": "1"}, config={"a": "</pre><script>"}, foot="end")
    check_page(text)
    assert not re.search(r"https?://", text)
    assert "url(" not in text


def test_text_is_escaped():
    text = page()
    assert "A &lt;b&gt;match&lt;/b&gt;" in text
    assert "&lt;script&gt;" in text
    assert "One sees &lt;dots&gt;." in text


def test_pictures_carry_their_names():
    text = page()
    assert '<img alt="Dots" src="data:image/png;base64,iVBORw==">' in text
    assert '<svg role="img" aria-label="Lines" viewBox="0 0 1 1">' in text
    assert '<figure class="wide">' in text


def test_numbers_are_readable():
    assert [form(v) for v in (0.0, 3, 1234567, 12345.6, 0.98765432, 1e-5, -2.5, float("nan"))] == [
        "0",
        "3",
        "1,234,567",
        "12,346",
        "0.9877",
        "1e-05",
        "-2.5",
        "–",
    ]


def test_same_content_gives_the_same_page():
    assert page() == page()
