"""Reports: one self-contained HTML page with pictures, captions and numbers."""

from geojax.reports.circuit import (
    controls_section as controls_section,
    gates_section as gates_section,
)
from geojax.reports.images import (
    ImageAtlasView as ImageAtlasView,
    ImageMatchView as ImageMatchView,
    image_atlas_section as image_atlas_section,
    image_match_section as image_match_section,
)
from geojax.reports.matching import (
    MatchView as MatchView,
    match_section as match_section,
)
from geojax.reports.measures import measures_section as measures_section
from geojax.reports.page import (
    Picture as Picture,
    Quantity as Quantity,
    Section as Section,
    Table as Table,
    form as form,
    render_page as render_page,
)
from geojax.reports.population import (
    PopulationView as PopulationView,
    population_section as population_section,
)
from geojax.reports.sweep import (
    SweepView as SweepView,
    sweep_page as sweep_page,
    sweep_quantities as sweep_quantities,
    sweep_sections as sweep_sections,
)
from geojax.reports.training import (
    TrainingView as TrainingView,
    training_section as training_section,
)
