"""The page: one picture at a time, its captions, questions and boxes. Refuses to know files.

It is bound to 127.0.0.1, so that nobody else reaches it.
"""

import html

from keras_vlm.core.extras import import_extra

HOST = "127.0.0.1"
# Of a side: less is a slip of the hand.
LEAST_SIDE = 0.01


def serve_annotations(store, *, port=8765, open_browser=True):
    """Serves the page until the process is stopped.

    Args:
        store: an ``AnnotationStore``.
        port: where it listens, on 127.0.0.1 alone.
        open_browser: whether to open it.

    Raises:
        ImportError: nicegui is missing; the message gives the command that installs it.
    """
    nicegui = import_extra("nicegui", "ui", "keras-vlm annotate")
    ui = nicegui.ui

    @ui.page("/")
    def index(number: int = 0):
        _Page(ui, store, min(max(number, 0), len(store.names) - 1)).build()

    ui.run(
        host=HOST,
        port=port,
        show=open_browser,
        reload=False,
        title="keras-vlm annotate",
        show_welcome_message=False,
    )


class _Page:
    """One view of one picture; every change of it is written at once."""

    def __init__(self, ui, store, number):
        self.ui, self.store, self.number = ui, store, number
        self.name = store.names[number]
        self.boxes = store.boxes(self.name)
        self.start = None

    def build(self):
        """Lays the page out."""
        ui, store, name = self.ui, self.store, self.name
        with ui.row().classes("w-full items-center"):
            count = len(store.names)
            ui.label(f"{self.number + 1} of {count}: {name}").classes("text-lg")
            for text, step in (("Before", -1), ("Next", 1)):
                target = (self.number + step) % count
                ui.link(text, f"/?number={target}").classes("text-lg")
        with ui.row().classes("w-full no-wrap items-start"):
            with ui.column().classes("w-1/2"):
                self.picture = ui.interactive_image(
                    store.folder / name,
                    on_mouse=self.draw,
                    events=["mousedown", "mouseup"],
                    cross=True,
                ).classes("w-full")
                self.list = ui.column()
            with ui.column().classes("w-1/2"):
                self.captions = ui.textarea(
                    "Captions, a line each",
                    value="\n".join(store.captions(name)),
                    on_change=self.save,
                ).classes("w-full")
                self.questions = ui.textarea(
                    "Questions, a line each: question = answer",
                    value="\n".join(f"{q} = {a}" for q, a in store.questions(name)),
                    on_change=self.save_questions,
                ).classes("w-full")
                self.label = ui.input("Label of the next box").classes("w-full")
                ui.label("Draw a box with the mouse. Everything is saved as you go.")
        self.show_boxes()

    def draw(self, event):
        """Begins a box where the mouse goes down, and ends it where it comes up."""
        if event.type == "mousedown":
            self.start = (event.image_y, event.image_x)
        elif self.start is not None:
            ends = [self.start, (event.image_y, event.image_x)]
            self.start = None
            sides = (self.height(), self.width())
            y, x = (
                sorted(min(max(end[i] / sides[i], 0.0), 1.0) for end in ends) for i in range(2)
            )
            if y[1] - y[0] >= LEAST_SIDE and x[1] - x[0] >= LEAST_SIDE:
                numbers = [round(number, 4) for number in (y[0], x[0], y[1], x[1])]
                self.boxes.append((*numbers, self.label.value or ""))
                self.save()
                self.show_boxes()

    def height(self):
        """Returns the picture's height in pixels."""
        return self.size()[0]

    def width(self):
        """Returns the picture's width in pixels."""
        return self.size()[1]

    def size(self):
        """Returns height and width of the picture as the browser shows it, turned by its EXIF."""
        if not hasattr(self, "_size"):
            from PIL import Image, ImageOps

            with Image.open(self.store.folder / self.name) as image:
                width, height = ImageOps.exif_transpose(image).size
            self._size = (height, width)
        return self._size

    def save(self, _=None):
        """Writes captions and boxes."""
        self.store.write(self.name, (self.captions.value or "").split("\n"), self.boxes)

    def save_questions(self, _=None):
        """Writes the questions."""
        # The last sign with spaces, as they are shown: a question may have one of its own.
        pairs = [
            line.rpartition(" = ") if " = " in line else line.partition("=")
            for line in (self.questions.value or "").split("\n")
        ]
        self.store.write_questions(self.name, [(asked, answer) for asked, _, answer in pairs])

    def remove(self, box):
        """Takes a box away."""
        self.boxes.remove(box)
        self.save()
        self.show_boxes()

    def show_boxes(self):
        """Draws the boxes and lists them."""
        height, width = self.size()
        drawn = [
            f'<rect x="{x0 * width}" y="{y0 * height}" width="{(x1 - x0) * width}" '
            f'height="{(y1 - y0) * height}" fill="none" stroke="red" '
            f'stroke-width="{max(1, width / 200)}"><title>{html.escape(label)}</title></rect>'
            for y0, x0, y1, x1, label in self.boxes
        ]
        self.picture.content = "".join(drawn)
        self.list.clear()
        with self.list:
            for box in self.boxes:
                with self.ui.row().classes("items-center"):
                    corners = ", ".join(f"{x:.2f}" for x in box[:4])
                    self.ui.label(f"box {box[4] or '(no label)'}: {corners}")
                    self.ui.button("Remove", on_click=lambda _, box=box: self.remove(box))
