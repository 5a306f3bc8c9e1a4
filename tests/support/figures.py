"""What every figure has to be, whatever it shows."""

from matplotlib.colors import to_hex

from scoreprof_nb.components.catalog import CATALOG

ALL_COMPONENTS = CATALOG.names


def assert_fits(figure, panels):
    """No panel lies under the legend, and nothing leaves the figure."""
    figure.draw_without_rendering()
    (legend,) = [axes.get_legend().get_window_extent() for axes in figure.axes if axes.get_legend()]
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= figure.bbox.y0
    for axes in panels:
        panel = axes.get_tightbbox()
        assert panel.x1 <= legend.x0
        assert panel.x0 >= 0
        assert panel.y0 >= 0
        assert panel.y1 <= figure.bbox.y1


def segments_of(axes):
    """(component, y of the bar, left, width, colour) of every segment."""
    return [
        (
            bar.get_label(),
            round(patch.get_y() + patch.get_height() / 2),
            patch.get_x(),
            patch.get_width(),
            to_hex(patch.get_facecolor()).upper(),
        )
        for bar in axes.containers
        for patch in bar
        if bar.get_label() in ALL_COMPONENTS
    ]
