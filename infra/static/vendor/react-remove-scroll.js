// Stands in for the package of this name, which keeps the page from scrolling below an open menu by adding a style
// element. Our page does not scroll, and its policy allows no such element.
export const RemoveScroll = ({ children }) => children;
